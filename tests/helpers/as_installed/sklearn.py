"""Stands for scikit-learn, which Keras imports where it is there; see `helpers.AS_INSTALLED`."""

raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
