"""The five linear layers that LAION's aesthetic predictor and ImageReward both put on an embedding."""

from torch import Tensor, nn


class ScoreHead(nn.Module):
    """(b, width) -> (b,), linear throughout: the published networks have no activation between their layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )

    def forward(self, embedding: Tensor) -> Tensor:
        return self.layers(embedding).squeeze(-1)
