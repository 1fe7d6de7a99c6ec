"""A small transformer that learns the letters of a text, watched: python docs/examples/transformer.py TEXT [STEPS]

The text that ships with tuitrain is a good one: corpora/harbour.txt.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tuitrain

TEXT = Path(sys.argv[1]).read_text(encoding="utf-8")
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
LENGTH, BATCH, WIDTH, HEADS, LAYERS = 64, 16, 96, 4, 2

torch.manual_seed(0)
letters = sorted(set(TEXT))
ids = torch.tensor([letters.index(letter) for letter in TEXT])
train, held_out = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]


class Transformer(nn.Module):
    """Letters and their places in, logits of the next letter out."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(letters), WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, len(letters))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time] -> [batch, time, letters]."""
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        return self.head(self.blocks(self.letters(x) + self.places.weight[:length], mask=mask, is_causal=True))


def loss_on(text: Tensor) -> Tensor:
    """Nats per letter on a batch of random places of a text."""
    starts = torch.randint(len(text) - LENGTH - 1, (BATCH,))
    windows = torch.stack([text[start : start + LENGTH + 1] for start in starts])
    return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


model = Transformer()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 100))
pilot = tuitrain.watch(model, optimizer, scheduler=scheduler, total_steps=STEPS, loss="nats per letter")


@pilot.evaluate(every=250)
@torch.no_grad()
def validation() -> Tensor:
    model.eval()
    return torch.stack([loss_on(held_out) for _ in range(4)]).mean()


@pilot.sample(every="20s")
@torch.no_grad()
def text() -> str:
    model.eval()
    written = held_out[:32].unsqueeze(0)
    for _ in range(120):
        logits = model(written[:, -LENGTH:])[0, -1]
        written = torch.cat([written, torch.multinomial((logits / 0.7).softmax(0), 1).unsqueeze(0)], 1)
    return "".join(letters[i] for i in written[0])


for step in range(STEPS):
    loss = loss_on(train)
    optimizer.zero_grad()
    loss.backward()
    pilot.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if not pilot.step(loss, epoch=step * BATCH * LENGTH / len(train)):
        break
print(f"the last loss was {loss.item():.4f}")
