"""The tabs of the demo. Each module has `build(context)`, called inside its `gr.Tab`."""
