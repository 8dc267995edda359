"""One run: its inputs, its directory, fine-tuning, pre-training, a process of its own."""
