"""What `python train.py` runs: the tasks, and what they need around data and models."""
