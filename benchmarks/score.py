"""Scoring documents beside its peers: lm-evaluation-harness and the published Skywork script.

    python -m benchmarks.score [--dtype float32] [--rounds 3] [--threads 2] [--documents N]
                               [--model FOLDER] [--batch-tokens 2048] [--out FILE]

The documents stand in `score_documents.json`: which of `examples/sets`, and cut to how many
characters (drawn from a log-normal, as web pages are, and no longer than the document). Everybody
scores the same tokens and so must find the same loss: we under `lm-eval`'s protocol against
lm-eval's own `loglikelihood_rolling` at its best batch size, and under `skywork2023` against that
script's way, restated here: in batches of 16 (script_ratio), which the command published with it
sets, and at its best batch size (script_best_ratio). A speed counts only if the total loss is
within 1e-3 of that in float32. Times are wall clock, tokenising included, reading the model not;
medians of rounds, turn about. Needs `benchmarks/peers/lm_eval.txt`, which is installed on first
use, and SmolLM2-135M out of it; without them lm_eval_ratio is null and the model is a random one
of that shape.

forward_share is what our forward passes reach of the best matrix product of the run in that dtype:
2 (layers' weights + vocabulary * width) operations a token and 2 * layers * width * context for
causal attention, over the whole time. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers

from benchmarks import peers
from skywright.engine.files import write_json
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.batches import fill, token_batches
from skywright.evaluate.prepare import prepare
from skywright.evaluate.protocols import LMEval, Skywork2023
from skywright.evaluate.reference import open_reference
from skywright.evaluate.score import score_prepared
from skywright.run.runner import environment
from skywright.sets import EvaluationDocument, EvaluationSet, load
from skywright.sets.schema import make_set

HERE = Path(__file__).parent
SETS = HERE.parent / "examples" / "sets"
MODEL = peers.ENVIRONMENTS / "models" / "smollm2-135m"
WINDOW_TOKENS = 2048
PEER_BATCHES = (1, 2, 4, 8, 16)
SCRIPT_BATCH = 16  # BATCH_SIZE in the shell script that runs SkyworkAI/Skywork's eval_loss.py
TOLERANCE = 1e-3
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def documents(limit: int | None) -> EvaluationSet:
    """The benchmark's documents, cut as the file says; in order of id, as every set."""
    rows = json.loads((HERE / "score_documents.json").read_text())[:limit]
    texts = {
        document.id: document.text
        for name in {row["set"] for row in rows}
        for document in load(SETS / name).documents
    }
    made = [
        EvaluationDocument.of(texts[row["id"]][: row["chars"]], "mixed", "en", "see examples/sets")
        for row in rows
    ]
    return make_set("mixed", "mixed", "en", made, "domain", "benchmark")


def smollm2() -> Path:
    """The folder of SmolLM2-135M, unpacked on first use. Raises `peers.Unavailable`."""
    if not (MODEL / "model.safetensors").is_file():
        script = HERE / "peers" / "smollm2.py"
        done = subprocess.run(
            [peers.interpreter("lm_eval"), script, MODEL],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise peers.Unavailable((done.stderr.strip() or "no message").splitlines()[-1])
    return MODEL


def random_model(folder: Path) -> Path:
    """A random model of SmolLM2-135M's shape, with a byte-level tokenizer of these documents."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=49_152, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([d.text for d in documents(None).documents], trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
        tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


class Ours:
    """Our scorer on one model."""

    def __init__(self, folder: Path, dtype: str, batch_tokens: int) -> None:
        self.backend = HFBackend(folder, dtype=dtype)
        self.reference = open_reference(folder)
        self.batch_tokens = batch_tokens
        self.backend.token_nll([torch.arange(9).numpy()], [1])  # reads the weights

    def time(self, texts: EvaluationSet, protocol: Any) -> tuple[float, float]:
        """Seconds, and the sum of all losses in nats."""
        started = time.perf_counter()
        prepared = prepare(self.backend, texts, protocol, self.reference)
        table = score_prepared(self.backend, prepared, self.batch_tokens)
        seconds = time.perf_counter() - started
        return seconds, sum(table["nll_nats"].to_pylist())


class ScriptsWay:
    """The published script's way: file order, padded batches, whole logits, one loss over them."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.tokenizer.padding_side, self.tokenizer.pad_token = "right", self.tokenizer.eos_token
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype])

    @torch.no_grad()
    def time(self, texts: list[str], batch: int, max_tokens: int) -> tuple[float, float]:
        """Seconds, and the sum of all losses in nats."""
        started, total = time.perf_counter(), 0.0
        texts = [text[: max_tokens // 3] for text in texts]
        for at in range(0, len(texts), batch):
            rows = self.tokenizer(
                texts[at : at + batch], add_special_tokens=False, padding=True, truncation=True,
                max_length=max_tokens, return_tensors="pt", split_special_tokens=True,
            )  # fmt: skip
            ids, mask = rows["input_ids"], rows["attention_mask"]
            logits = self.model(ids, attention_mask=mask).logits[:, :-1]
            losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            total += (losses * mask[:, 1:]).sum().item()
        return time.perf_counter() - started, total


def lm_eval(folder: Path, texts: list[str], dtype: str, threads: int, *more: str) -> dict[str, Any]:
    """What lm-eval's own environment says; see `peers/lm_eval_score.py`."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(texts, file)
        file.flush()
        done = subprocess.run(
            [peers.interpreter("lm_eval"), HERE / "peers" / "lm_eval_score.py", folder, file.name,
             "--dtype", dtype, "--threads", str(threads), "--max-length", str(WINDOW_TOKENS),
             *more],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise peers.Unavailable(
            f"lm-eval: {(done.stderr.strip() or 'no message').splitlines()[-1]}"
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def best_product(dtype: str) -> float:
    """Operations a second of the best of some matrix products, square and of the model's shape."""
    best = 0.0
    for m, k, n in ((2048, 2048, 2048), (2048, 576, 1536), (1024, 576, 49_152)):
        a, b = (torch.randn(*shape).to(DTYPES[dtype]) for shape in ((m, k), (k, n)))
        for _ in range(4):
            started = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * m * k * n / (time.perf_counter() - started))
    return best


def operations(ours: Ours, texts: EvaluationSet, protocol: Any) -> tuple[float, int, float]:
    """Operations that the forward passes need, tokens read, and how full the batches are."""
    config = transformers.AutoConfig.from_pretrained(ours.backend.path)
    head = config.vocab_size * config.hidden_size
    tied = config.tie_word_embeddings
    with torch.device("meta"):  # the scorer's own layers may hold their weights in another form
        plain = transformers.AutoModelForCausalLM.from_config(ours.backend._model.config)
    weights = sum(p.numel() for p in plain.parameters())
    body = weights - (head if tied else 2 * head)
    prepared = prepare(ours.backend, texts, protocol, ours.reference)
    windows = [
        window
        for d in prepared.documents
        for window in protocol.windows(d.encoding.ids, prepared.terms)
    ]
    total = 0.0
    for window in windows:
        read, scored = len(window.ids) - 1, len(window.ids) - window.first_scored
        attention = 2 * config.num_hidden_layers * config.hidden_size * read * read
        total += 2 * body * read + 2 * head * scored + attention
    lengths = [len(window.ids) for window in windows]
    return total, sum(lengths), fill(lengths, token_batches(lengths, ours.batch_tokens))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything of one dtype."""
    torch.set_num_threads(options.threads)
    texts = documents(options.documents)
    plain = [document.text for document in texts.documents]
    rolling, script = LMEval(max_length=WINDOW_TOKENS), Skywork2023()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder, missing = options.model or smollm2(), None
        except peers.Unavailable as error:
            folder, missing = random_model(Path(temporary)), str(error)
        exact = Ours(folder, "float32", options.batch_tokens).time(texts, rolling)[1]
        ours = Ours(folder, options.dtype, options.batch_tokens)
        theirs = ScriptsWay(folder, options.dtype)
        trials = {b: theirs.time(plain, b, script.max_tokens)[0] for b in PEER_BATCHES}
        script_batch = min(trials, key=trials.__getitem__)
        try:
            sizes = [str(b) for b in PEER_BATCHES]
            found = lm_eval(folder, plain, options.dtype, options.threads, "--batch-sizes", *sizes)
            peer_batch = min(found["seconds"], key=lambda size: min(found["seconds"][size]))
        except peers.Unavailable as error:
            peer_batch, missing = None, str(error)
        kinds = ("ours", "lm_eval", "ours_cut", "script", "script_best")
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        losses: dict[str, float] = {}
        peaks = []
        for _ in range(options.rounds):
            peaks.append(best_product(options.dtype))
            for name, work in (
                ("ours", lambda: ours.time(texts, rolling)),
                ("ours_cut", lambda: ours.time(texts, script)),
                ("script", lambda: theirs.time(plain, SCRIPT_BATCH, script.max_tokens)),
                ("script_best", lambda: theirs.time(plain, script_batch, script.max_tokens)),
            ):
                seconds, losses[name] = work()
                times[name].append(seconds)
            if peer_batch is not None:
                found = lm_eval(
                    folder, plain, options.dtype, options.threads, "--batch-sizes", peer_batch
                )
                times["lm_eval"] += found["seconds"][peer_batch]
                losses["lm_eval"] = -sum(found["nats"])
        needed, tokens, full = operations(ours, texts, rolling)
    medians = {name: statistics.median(t) if t else None for name, t in times.items()}
    error = abs(losses["ours"] / exact - 1)
    own = medians["ours"]
    return {
        "lm_eval_ratio": medians["lm_eval"] and round(medians["lm_eval"] / own, 3),
        "script_ratio": round(medians["script"] / medians["ours_cut"], 3),
        "script_best_ratio": round(medians["script_best"] / medians["ours_cut"], 3),
        "forward_share": round(needed / own / max(peaks), 3),
        "tokens_s": round(tokens / own, 1),
        "dtype": options.dtype,
        "counts": error <= TOLERANCE,
        "nll_error": error,
        "nats": losses,
        "fill": round(full, 4),
        "seconds": medians,
        "rounds": times,
        "peer_batches": {
            "lm_eval": peer_batch,
            "script": SCRIPT_BATCH,
            "script_best": script_batch,
        },
        "best_product_gflops": round(max(peaks) / 1e9, 1),
        "tokens": tokens,
        "batch_tokens": options.batch_tokens,
        "threads": options.threads,
        "model": folder.name
        if folder == MODEL or options.model
        else "random, SmolLM2-135M's shape",
        "missing": missing,
    }


def main() -> None:
    """Parse, measure, print, and write the result if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--documents", type=int)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--out", type=Path, help="JSON file; the other dtype's result stays in it")
    options = parser.parse_args()
    result = measure(options)
    machine = environment()
    result["date"] = datetime.date.today().isoformat()
    result["machine"] = {k: machine[k] for k in ("cpu", "cores", "memory_gb", "platform")}
    result["packages"] = {k: machine["packages"].get(k) for k in ("torch", "transformers")}
    if options.out:
        known = json.loads(options.out.read_text()) if options.out.is_file() else {}
        write_json(options.out, {**known, options.dtype: result})
    print(json.dumps(result, indent=1, sort_keys=True))
    keys = ("lm_eval_ratio", "script_ratio", "forward_share", "tokens_s", "dtype")
    print(json.dumps({key: result[key] for key in keys}))


if __name__ == "__main__":
    main()
