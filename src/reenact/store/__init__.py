"""Everything on disk: run directories, records, blobs, metrics, the index and its query language."""
