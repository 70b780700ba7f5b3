"""The encoders (foundation models): one record each, looked up by name.

Except in the folders of single encoders, nothing here imports torch, so that the configuration can
read it. The other packages use the record (`registry.Encoder`) and the implementation that it names
(`interface`); none of them names an encoder.
"""

from brainmass_core.encoders.registry import (
    Encoder,
    Pages,
    encoder_of,
    encoders,
    goes_with,
    owner_of,
    register,
)

__all__ = ["Encoder", "Pages", "encoder_of", "encoders", "goes_with", "owner_of", "register"]
