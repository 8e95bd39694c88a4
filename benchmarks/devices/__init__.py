"""What each speed device brings by itself: ``CTI_EDITS_DATA=../shared/data python -m benchmarks.devices``.

- __main__.py: times each device with and without it, and prints a line of a table.
- work.py: what the devices are tried on, and how one is switched off.
- replay.py, linalg.py: the devices of evaluations and gradient passes, and those of decompositions.
"""
