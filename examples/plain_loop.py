"""``gradproj.project`` in a torch loop of your own: two lines keep the latent white noise while a reward is climbed."""

import torch

import gradproj
from gradproj.models.shapes import Shapes
from gradproj.rewards.shapes_matcher import ShapesMatcher


def climb(latent: torch.Tensor, prompts: list[str], steps: int = 30, rate: float = 0.02) -> tuple[torch.Tensor, list]:
    """A latent so many steps further, float32 (b, 3, 32, 32) as the one given, and the mean reward of every step."""
    model, reward = Shapes(), ShapesMatcher()  # here come your own generator and reward
    condition, text = model.encode(prompts), reward.encode(prompts)
    latent = latent.to(model.device, copy=True).requires_grad_()
    optimizer = torch.optim.Adam([latent], lr=rate)
    rewards = []
    for _ in range(steps):
        values = reward(model.generate(latent, condition), text)
        (-values.sum()).backward()
        assert latent.grad is not None
        latent.grad = gradproj.project(latent.grad)  # a direction that white noise could have
        optimizer.step()
        optimizer.zero_grad()
        latent.data.copy_(gradproj.project(latent.data))  # the latent stays white noise
        rewards.append(values.mean().item())
    return latent.detach(), rewards


if __name__ == "__main__":
    _, rewards = climb(torch.randn(2, 3, 32, 32), ["a red ring", "a blue square and a white circle"])
    print(f"mean reward {rewards[0]:.3f} at the start, {rewards[-1]:.3f} after {len(rewards) - 1} steps")
