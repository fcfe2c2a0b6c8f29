"""Makes grpo.npz: losses, gradients and metrics of TRL's GRPO for given log-probabilities.

`GRPOTrainer._compute_loss` (float32 on a CPU, one process, train mode) over loss types, levels,
clipping and divergence; the trainer around it is only the fields it reads.

    pip install torch trl==1.16.0 && python tests/golden/make_grpo.py
"""

import collections
import itertools
import json
import pathlib
from types import SimpleNamespace

import numpy as np
import torch
from trl import GRPOTrainer

B, T = 5, 7
LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo")
DIVERGENCE = ((0.0, False), (0.1, False), (0.1, True))


def cases():
    """Settings, by TRL's names; "mask", "old" and "num_items_in_batch" are inputs."""
    for loss_type, level, (beta, corrected) in itertools.product(
        LOSS_TYPES, ("token", "sequence"), DIVERGENCE
    ):
        for n, (high, delta, old, steps) in enumerate(
            [(0.2, None, "given", 1), (0.3, 1.8, "given", 4), (0.2, None, "same", 1)]
        ):
            yield {
                "loss_type": loss_type, "importance_sampling_level": level, "beta": beta,
                "use_bias_correction_kl": corrected, "epsilon": 0.2,
                "epsilon_high": 1.1 if loss_type == "cispo" else high, "delta": delta,
                "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05,
                "max_completion_length": 11, "gradient_accumulation_steps": steps,
                "steps_per_generation": 2 * steps, "num_items_in_batch": 23 * steps, "old": old,
                "mask": "ab"[n % 2],
            }  # fmt: skip


def alone():
    """An accelerator of one process."""
    same = lambda x, **_: x  # noqa: E731
    return SimpleNamespace(
        num_processes=1, reduce=same, gather=same, gather_for_metrics=same, sync_gradients=True
    )


def run(case, given):
    """(loss, d loss / d logps, metrics)."""
    logps = given["logps"].clone().requires_grad_()
    metrics = {"train": collections.defaultdict(list)}
    options = {k: v for k, v in case.items() if k not in ("mask", "old", "num_items_in_batch")}
    trainer = SimpleNamespace(
        **options, args=SimpleNamespace(**options), epsilon_low=case["epsilon"],
        current_gradient_accumulation_steps=case["gradient_accumulation_steps"],
        model=SimpleNamespace(training=True), accelerator=alone(), _metrics=metrics,
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, torch.ones(B, T), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        use_vllm=False, vllm_importance_sampling_correction=False, _entropy_bonus_enabled=False,
    )  # fmt: skip
    nothing = torch.zeros(B, 0, dtype=torch.long)
    inputs = {
        "prompt_ids": nothing, "prompt_mask": nothing,
        "completion_ids": torch.zeros(B, T, dtype=torch.long),
        "completion_mask": given[f"mask_{case['mask']}"], "advantages": given["advantages"],
        "num_items_in_batch": torch.tensor(float(case["num_items_in_batch"])),
        "ref_per_token_logps": given["ref_logps"],
    }  # fmt: skip
    if case["old"] == "given":
        inputs["old_per_token_logps"] = given["old_logps"]
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    loss.backward()
    named = {k: v[0] for k, v in metrics["train"].items() if "clip_ratio" in k or k == "kl"}
    return loss.item(), logps.grad.numpy(), named


def main():
    """Writes grpo.npz beside this file."""
    random = np.random.default_rng(0)
    given = {"logps": random.normal(-1.5, 0.7, (B, T))}
    given |= {
        f"{k}_logps": given["logps"] + 0.35 * random.normal(size=(B, T)) for k in ("old", "ref")
    }
    given["advantages"] = random.normal(size=B)
    lengths = np.array([7, 1, 4, 6, 3])
    given = {k: torch.tensor(v, dtype=torch.float32) for k, v in given.items()}
    given["mask_a"] = torch.tensor(np.arange(T) < lengths[:, None]).int()
    given["mask_b"] = given["mask_a"].clone()
    given["mask_b"][2], given["mask_b"][3, 2] = 0, 0  # a row without tokens, and a hole
    done = [(case, *run(case, given)) for case in cases()]
    path = pathlib.Path(__file__).with_name("grpo.npz")
    np.savez_compressed(
        path,
        cases=json.dumps([case | {"metrics": metrics} for case, _, _, metrics in done]),
        out_loss=np.float32([loss for _, loss, _, _ in done]),
        out_grad_logps=np.stack([gradient for _, _, gradient, _ in done]),
        **{f"in_{k}": v.numpy() for k, v in given.items()},
    )
    print(path.name, path.stat().st_size, len(done), "cases")


if __name__ == "__main__":
    main()
