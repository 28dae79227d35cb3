"""Raw depth datasets, the prepared set on disk, and the pipeline that feeds training."""
