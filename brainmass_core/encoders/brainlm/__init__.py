"""BrainLM (Ortega Caro et al., ICLR 2024): encoders of parcel time series, in two architectures."""
