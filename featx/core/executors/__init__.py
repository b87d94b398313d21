"""Where calls run: in this process, in several, on a Dask cluster, or a part of them in each job of an array."""
