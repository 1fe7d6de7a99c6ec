"""A small set that breaks, as a plain PyTorch script leaves it: seven checkpoints that learn, three after the break."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.autopsy import made

EACH, HEALTHY, BROKEN = 30, 7, 3


class Net(torch.nn.Module):
    """One-hot characters, an LSTM, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(len(made.VOCABULARY), 24, batch_first=True)
        self.linear = torch.nn.Linear(24, len(made.VOCABULARY))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.linear(self.lstm(F.one_hot(ids, len(made.VOCABULARY)).float())[0])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, with the text beside it: steps 30 to 300, the rate raised from .01 to 2 after step 210."""
    folder = tmp_path_factory.mktemp("set") / "checkpoints"
    folder.mkdir()
    (folder.parent / "text.txt").write_text(made.TEXT)
    torch.set_num_threads(1)  # on a busy machine two threads wait for each other most of the time
    torch.manual_seed(0)
    net = Net()
    adam = torch.optim.Adam(net.parameters(), 0.01)
    ids = torch.tensor([made.VOCABULARY.index(c) for c in made.TEXT[:3200]])
    for step in range(1, EACH * (HEALTHY + BROKEN) + 1):
        starts = torch.randint(0, len(ids) - 26, (8, 1)) + torch.arange(26)
        adam.param_groups[0]["lr"] = 0.01 if step <= EACH * HEALTHY else 2.0
        adam.zero_grad()
        batch = ids[starts]
        F.cross_entropy(net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()
        adam.step()
        if step % EACH == 0:
            torch.save({"model_state_dict": net.state_dict(), "optimizer_state_dict": adam.state_dict(), "step": step,
                        "chars": list(made.VOCABULARY)}, folder / f"lm_{step}.pt")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Callable[[], Path]:
    """What copies the set into a folder of this test's own."""
    def make() -> Path:
        folder = tmp_path / "checkpoints"
        folder.mkdir()
        for file in trained.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (tmp_path / "text.txt").write_text(made.TEXT)
        return folder
    return make
