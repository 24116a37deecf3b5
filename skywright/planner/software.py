"""What the training program does that a device cannot know: facts of the code, not of hardware."""

from __future__ import annotations

from typing import Literal

from skywright.config import Config
from skywright.errors import UserError

SoftwareName = Literal["skywright", "megatron"]


class Software(Config):
    """The habits of a trainer that move memory or time.

    logits             whole: a table of tokens x vocabulary exists; chunked: some rows at a time
    fused_swiglu       silu(gate) is computed again in the backward pass, not kept
    overlap_gradients  the gradients' exchange runs behind the last micro-batch's backward pass
    """

    name: SoftwareName
    logits: Literal["whole", "chunked"]
    fused_swiglu: bool
    overlap_gradients: bool


SOFTWARE: dict[str, Software] = {
    # Megatron-LM as of mid-2023 with ZeRO-1, the report's program. Whether its SwiGLU was fused is
    # not published; with silu(gate) kept too, the memory table fits worse (docs/planner.md).
    "megatron": Software(
        name="megatron", logits="whole", fused_swiglu=True, overlap_gradients=False
    ),
    # skywright.model as it stands: head in chunks, silu(gate) * up by autograd.
    "skywright": Software(
        name="skywright", logits="chunked", fused_swiglu=False, overlap_gradients=False
    ),
}


def software_named(name: str) -> Software:
    """The habits of a trainer. Raises UserError for a name that is not known."""
    if name not in SOFTWARE:
        raise UserError(f"software {name!r} is not known; name one of {', '.join(SOFTWARE)}")
    return SOFTWARE[name]
