"""The Gradio demo: every strategy side by side on your own image. Works without a network."""

import os

from kerasunet.processes import share_heaps

# Before Gradio and TensorFlow are imported: both read the environment, and start threads.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
share_heaps()
