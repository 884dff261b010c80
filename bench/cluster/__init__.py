"""Several workers over one database and two LiveKit nodes: `bench/run cluster`."""
