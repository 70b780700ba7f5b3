import pandas as pd
import pytest
from marked_scans import marked


@pytest.fixture
def people():
    """120 scans of 60 participants at 3 sites, half kept for evaluation; two scans each."""
    rows = []
    for i in range(60):
        for run in range(2):
            rows.append(
                {
                    "scan_id": f"s{i:02d}_run-{run}",
                    "dataset": "demo",
                    "participant_id": f"s{i:02d}",
                    "participant": f"demo/s{i:02d}",
                    "bold_path": f"/data/s{i:02d}_run-{run}.npy",
                    "bold_key": None,
                    "y": (i // 3) % 2,
                    "site": "abc"[i % 3] if i < 50 else None,
                    "split": "test" if i % 4 else "train",
                }
            )
    return marked(pd.DataFrame(rows))
