"""Models as functions of tensors, without file access (except `pretrained`)."""
