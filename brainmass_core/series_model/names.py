"""Names of methods in figures and on the page; without torch, because the report imports it."""

METHODS = {
    "model": "BrainLM",
    "visible_parcels": "mean of the visible parcels",
    "parcel_mean": "mean of the parcel",
    "interpolation": "linear interpolation in time",
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
    "untrained": "BrainLM, untrained",
    "from_scratch": "BrainLM, trained on this task only",
}
