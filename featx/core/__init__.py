"""Ground: hashing, files, paths, devices, random numbers, metrics, and the folders of runs."""
