"""A small model server of our own: three dialects, one model, and the faults that servers have."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import transformers

CONTEXT = 256


class ContractServer:
    """What the handler serves; tests set `fault`, `busy` and `key` and read `bodies`.

    fault: what is wrong with its answers, "" for nothing; busy: how many requests are still to
    be answered with 503; key: the bearer token that it asks for.
    """

    def __init__(self, folder: Path) -> None:
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.fault, self.busy, self.key = "", 0, ""
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.address = ""
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def losses(self, ids: list[int]) -> list[float | None]:
        """Log-probabilities of the ids, by transformers' own logits."""
        with self.lock, torch.no_grad():
            rows = self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        found: list[float | None] = [None]
        found += [float(rows[i - 1, token]) for i, token in enumerate(ids) if i]
        if self.fault == "nan":
            found[-1] = float("nan")
        if self.fault == "above zero":
            found[-1] = 0.5
        if self.fault == "minus infinity":
            found[-1] = -9999.0
        if self.fault == "hole":
            found[-1] = None
        return found

    def read(self, ids: list[int]) -> list[int]:
        """The prompt as this server reads it."""
        if self.fault == "truncates":
            return ids[-len(ids) // 2 :]
        if self.fault == "adds a token":
            return [1, *ids]
        if self.fault == "other tokens":
            return [*ids[:-1], (ids[-1] + 1) % 400]
        return ids

    def models(self) -> dict[str, Any]:
        card = {"id": "tiny", "object": "model", "root": "here", "max_model_len": CONTEXT}
        return {"object": "list", "data": [card]}

    def vllm(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["add_special_tokens"] is False
        assert body["max_tokens"] == 1
        ids = self.read(body["prompt"])
        entries: list[dict[str, Any] | None] = [None]
        for token, value in list(zip(ids, self.losses(ids), strict=True))[1:]:
            shown = (token + 7) % 400 if self.fault == "top-k only" else token
            entries.append(
                {str(shown): {"logprob": value, "rank": 3, "decoded_token": "x"}}
                if value is not None
                else None
            )
        choice = {"index": 0, "text": "x", "logprobs": None, "prompt_logprobs": entries}
        if body.get("return_token_ids"):
            choice["prompt_token_ids"] = ids
        if self.fault == "no prompt":
            choice["prompt_logprobs"] = None
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": 1}}

    def sglang(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["return_logprob"]
        ids = self.read(body["input_ids"])
        start = body["logprob_start_len"]
        shown = [(t + 7) % 400 for t in ids] if self.fault == "top-k only" else ids
        pairs = [[v, t, None] for v, t in zip(self.losses(ids), shown, strict=True)]
        meta = {"prompt_tokens": len(ids), "input_token_logprobs": pairs[start:]}
        if self.fault == "no prompt":
            del meta["input_token_logprobs"]
        return {"text": "", "meta_info": meta}

    def echo(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = self.read(body["prompt"])
        made = [5] * body["max_tokens"]
        values = [*self.losses(ids), *(-1.0 for _ in made)]
        tokens = [self.tokenizer.decode([t]) for t in (*ids, *made)]
        if self.fault == "no prompt":  # as llama.cpp: of the tokens that were made, alone
            values, tokens = values[len(ids) :], tokens[len(ids) :]
        if self.fault == "top-k only":
            values = [None for _ in values]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None}
        return {
            "choices": [{"index": 0, "text": "", "logprobs": logprobs}],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": len(made)},
        }


def _handler(server: ContractServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def answer(self, status: int, value: Any, retry_after: str = "") -> None:
            content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if retry_after:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            found = {"/v1/models": server.models(), "/version": {"version": "0.0.test"}}
            if self.path in found:
                self.answer(200, found[self.path])
            else:
                self.answer(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization"))
            if server.fault == "never answers":
                server.closing.wait(30)
                self.close_connection = True
            elif server.busy > 0:
                server.busy -= 1
                self.answer(503, {"error": {"message": "loading"}}, "0")
            elif server.fault == "refuses":
                self.answer(400, {"error": {"message": "prompt is too odd"}})
            elif server.fault == "a web page":
                self.answer(200, "<html>welcome</html>")
            elif self.path == "/generate":
                self.answer(200, server.sglang(body))
            elif "prompt_logprobs" in body:
                self.answer(200, server.vllm(body))
            else:
                self.answer(200, server.echo(body))

    return Handler


@contextmanager
def contract_server(folder: Path) -> Iterator[ContractServer]:
    """Serve the folder's model on a free port for the length of the block."""
    server = ContractServer(folder)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        http.shutdown()
        http.server_close()
        thread.join()
