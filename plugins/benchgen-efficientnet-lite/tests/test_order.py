import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "order.py"


@pytest.mark.slow
def test_whole_script_on_a_few_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, tint in (("horse", 60), ("ship", 160)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(16):
                small = draw.integers(tint, tint + 90, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(small).resize((32, 32)).save(folder / f"{i}.png")
    out = tmp_path / "order.json"
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--n", "8", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 5
    values = {row["set"]: row["kid"]["value"] for row in rows}
    assert values["the same, blurred by 1 pixel"] > values["the same, blurred by 0.5 pixels"]
    # Fewer images than dimensions: no corrected FID.
    assert all(row["fid-corrected"]["value"] is None for row in rows)
    assert "| undefined |" in out.with_suffix(".md").read_text()
