"""What methods are called in figures and on the page; the report imports it, so no torch here."""

METHODS = {
    "model": "BrainLM",
    "visible_parcels": "mean of the visible parcels",
    "parcel_mean": "mean of the parcel",
    "interpolation": "straight line in time",
    "last_value": "last value",
    "autoregression": "autoregression",
    "lstm": "LSTM",
    "latent_ode": "latent ODE",
    "attention": "attention",
    "series": "series",
    "correlation": "correlation",
    "vae": "VAE of correlation",
    "coordinates": "coordinates",
    "gcn": "GCN on correlation",
    "untrained": "BrainLM, initial weights",
    "from_scratch": "BrainLM, trained on this alone",
}
