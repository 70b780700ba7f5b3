"""The encoders (foundation models): one record each, looked up by name.

Everything here but the folders of single encoders is free of torch, so that the configuration can
read it. The other packages read the record (`registry.Encoder`) and what it names (`interface`);
none of them names an encoder.
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
