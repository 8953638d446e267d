"""SAEDashboard's side of `dashboard`, run by the Python of its own environment: prints a line of JSON.

python dashboard_peer.py MODEL_FOLDER SAE_FOLDER TOKENS.npy HOOK FEATURES
"""

import json
import sys
import time

import numpy as np
import torch
from hooked import hooked
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import SAE


def main() -> None:
    folder, sae_folder, tokens_file, hook, n = sys.argv[1:]
    model = hooked(folder)
    sae = SAE.load_from_disk(sae_folder, device="cpu")
    sae.cfg.metadata.hook_name = hook
    tokens = torch.from_numpy(np.load(tokens_file))
    settings = SaeVisConfig(hook_point=hook, features=list(range(int(n))), ignore_positions=[0])
    with torch.no_grad():
        began, worked = time.perf_counter(), time.process_time()
        SaeVisRunner(settings).run(encoder=sae, model=model, tokens=tokens)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - worked
    found = {"features": int(n), "tokens": tokens.numel(), "seconds": seconds, "cpu_s": cpu_s}
    print(json.dumps({**found, "a_second": int(n) / seconds}))


if __name__ == "__main__":
    main()
