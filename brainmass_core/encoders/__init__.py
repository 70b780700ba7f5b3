"""The encoders (foundation models): one record each, looked up by name.

The configuration reads the records (`record`, and ``record`` in the folder of each encoder), the
features, estimators and methods (`methods`), and the lookup of all of these by name (`registry`).
They import neither torch nor the configuration. The implementation of an encoder (`interface`, and
the rest of its folder) imports both. The other packages use the record and the implementation that
it names; none of them names an encoder.
"""

from brainmass_core.encoders.record import Encoder, Network, Pages
from brainmass_core.encoders.registry import encoder_of, encoders, register

__all__ = ["Encoder", "Network", "Pages", "encoder_of", "encoders", "register"]
