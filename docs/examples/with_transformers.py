"""The Hugging Face Trainer, watched (pip install transformers accelerate):
python docs/examples/with_transformers.py [STEPS]"""

import sys
import tempfile

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import tuitrain.transformers

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


class Counting(Dataset[dict[str, Tensor]]):
    """Sequences that count up from a number of their own."""

    def __len__(self) -> int:
        return 512

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        ids = (torch.arange(16) + index) % 50
        return {"input_ids": ids, "labels": ids}


model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0,
                                   eos_token_id=0))
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(folder, max_steps=STEPS, per_device_train_batch_size=8, gradient_accumulation_steps=2,
                                  eval_strategy="steps", eval_steps=max(1, STEPS // 4), save_strategy="no",
                                  logging_steps=5, report_to=[], disable_tqdm=True, use_cpu=True)
    Trainer(model=model, args=arguments, train_dataset=Counting(), eval_dataset=Counting(),
            callbacks=[tuitrain.transformers.Pilot(loss="nats per number")]).train()
