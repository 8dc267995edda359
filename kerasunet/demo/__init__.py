"""The Gradio demo: compare every strategy on your own image. It needs no network."""

import os

from kerasunet.processes import limit_malloc_arenas

# Here, because Gradio and TensorFlow read the environment and start threads on import, and
# Python imports this package before any module in it.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
limit_malloc_arenas()
