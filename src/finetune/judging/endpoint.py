"""A judge behind an OpenAI-compatible endpoint (`POST …/chat/completions`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm
from urllib3.util import Retry

from finetune.errors import FinetuneError
from finetune.judging.cache import Messages
from finetune.recipe.judging import Judge

TRIES = 5
BACKOFF = 1.0  # seconds before the second try, doubled before each one after
LONGEST_WAIT = 60.0  # seconds, whatever `Retry-After` says
LONGEST_REPLY = 20_000  # characters kept
BUSY = (408, 429, 500, 502, 503, 504)


class Endpoint:
    """Asks several questions at once; temperature 0, the recipe's seed."""

    def __init__(self, judge: Judge, seed: int) -> None:
        self.judge, self.seed = judge, seed
        self.url = f"{str(judge.endpoint).rstrip('/')}/chat/completions"
        self._key = api_key(judge)

    @property
    def identity(self) -> dict[str, Any]:
        """Who is asked and how, without what changes no reply."""
        return {
            "endpoint": self.judge.endpoint,
            "model": self.judge.model,
            "max_tokens": self.judge.max_tokens,
            "seed": self.seed,
        }

    def replies(self, asked: Sequence[Messages], title: str) -> Iterator[tuple[int, str]]:
        """(index, reply) of each as they come.

        Raises:
            FinetuneError: the endpoint refuses, or has not replied after several tries.
        """
        with (
            self._session() as session,
            ThreadPoolExecutor(self.judge.concurrency) as pool,
            tqdm(total=len(asked), desc=title, unit="reply", disable=None, leave=False) as bar,
        ):
            waiting = {
                pool.submit(self._reply, session, messages): index
                for index, messages in enumerate(asked)
            }
            try:
                for done in as_completed(waiting):
                    yield waiting.pop(done), done.result()
                    bar.update()
            except FinetuneError:
                # What is under way is paid for: it is kept, the rest is not asked.
                for future, index in waiting.items():
                    if not future.cancel() and future.exception() is None:
                        yield index, future.result()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _session(self) -> requests.Session:
        session = requests.Session()
        retry = Retry(
            TRIES - 1,
            status_forcelist=BUSY,
            allowed_methods=None,
            backoff_factor=BACKOFF,
            backoff_max=LONGEST_WAIT,
            retry_after_max=int(LONGEST_WAIT),
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(
                scheme, HTTPAdapter(max_retries=retry, pool_maxsize=self.judge.concurrency)
            )
        session.auth = self._sign  # a header alone would give way to ~/.netrc
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _reply(self, session: requests.Session, messages: Messages) -> str:
        body: dict[str, Any] = {
            "model": self.judge.model,
            "messages": list(messages),
            "temperature": 0,
            "seed": self.seed,
            "max_tokens": self.judge.max_tokens,
        }
        try:
            # Redirects are not followed: they would carry the texts somewhere else.
            answer = session.post(
                self.url, json=body, timeout=self.judge.timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            raise self._failed(f"gives no reply ({type(error).__name__})") from None
        if not answer.ok or answer.is_redirect:
            raise self._failed(f"replies with HTTP status {answer.status_code}{self._said(answer)}")
        try:
            text = answer.json()["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise self._failed("does not reply as /chat/completions does") from None
        # A reply without text, as a filter leaves it, is a reply: malformed, and counted.
        return str(text or "")[:LONGEST_REPLY]

    def _said(self, answer: requests.Response) -> str:
        """The endpoint's own reason. Of a refused key it may repeat a part, so that is not told."""
        if answer.status_code in {401, 403} or not answer.text.strip():
            return ""
        return f": {answer.text.replace(self._key, '…') if self._key else answer.text}"[:300]

    def _failed(self, what: str) -> FinetuneError:
        return FinetuneError(
            f"the judge {self.judge.model!r} {what}",
            where=self.url,
            remedy="Look at `endpoint`, `model` and `api_key_env` of the judge; what was replied "
            "before is kept, so run the recipe again.",
        )


def api_key(judge: Judge) -> str:
    """The key in the environment variable that the recipe names; empty where it names none.

    Raises:
        FinetuneError: the variable is not set.
    """
    if judge.api_key_env is None:
        return ""
    key = os.environ.get(judge.api_key_env, "").strip()
    if not key:
        raise FinetuneError(
            f"the environment has no {judge.api_key_env}",
            where="judge.api_key_env",
            remedy="Set it to the endpoint's key; the recipe holds its name alone.",
        )
    return key
