"""Parts of `benchmarks/reliability/kill.py`: commands, moments to kill them, what is looked at."""
