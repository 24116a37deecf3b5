"""A model spread over processes: FSDP, tensor and pipeline, a file each, on torch's own parts.

`config` and `mesh` say who sits where, `apply_pipeline`, `apply_tensor` and `apply_fsdp` change a
model accordingly, and `step.ParallelModel` does all three and runs a step on what comes out.
"""
