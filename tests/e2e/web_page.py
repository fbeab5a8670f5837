"""open-webui's page as a person uses it: sign in, choose a model, ask, read what comes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from e2e.browser import PATIENCE_MS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

# Toasts go after four seconds: those that say an error are written down. So is every text that an answer has had: a
# small model is done between two looks from outside. The mark is gone when the page is loaded anew.
_WATCH = """
window.gpuboxErrors = [];
window.gpuboxTexts = [];
new MutationObserver(() => {
  for (const toast of document.querySelectorAll('[data-sonner-toast][data-type="error"]')) {
    if (!toast.gpuboxSeen) { toast.gpuboxSeen = true; window.gpuboxErrors.push(toast.innerText); }
  }
  const text = [...document.querySelectorAll('.chat-assistant')].at(-1)?.textContent.trim();
  if (text && text !== window.gpuboxTexts.at(-1)) { window.gpuboxTexts.push(text); }
}).observe(document, {childList: true, subtree: true, characterData: true});
"""
_MARK = "window.gpuboxMark"


class WebPage:
    """One page of a web UI at `url`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        page.add_init_script(_WATCH)
        self._input = page.locator("#chat-input")
        self._model = page.locator("#model-selector-model-button")

    def sign_in(self, email: str, password: str) -> None:
        """Open the page and sign in; ends where a question can be typed."""
        self.page.goto(self.url)
        self.page.locator("#email").fill(email)
        self.page.locator("#password").fill(password)
        self.page.locator("button[type=submit]").click()
        self._input.wait_for()
        self.page.evaluate(f"{_MARK} = true")

    def choose(self, model: str) -> list[str]:
        """Choose a model or an agent in a new chat; the ids of all that were offered."""
        self._model.click()
        option = self.page.locator(f'[role=option][data-value="{model}"]')
        option.wait_for()
        offered = [str(each.get_attribute("data-value")) for each in self.page.locator("[role=option]").all()]
        option.click()
        expect(self._model).to_contain_text(model, timeout=PATIENCE_MS)
        return offered

    def ask(self, text: str) -> Locator:
        """Type a question and send it; where its answer will stand."""
        before = self.answers.count()
        self._input.click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        expect(self.answers).to_have_count(before + 1, timeout=PATIENCE_MS)
        return self.answers.nth(before)

    def growth(self, answer: Locator, end: str) -> list[str]:
        """Wait until the (last) answer ends with `end`; the different texts that it has had, one after another."""
        expect(answer).to_have_text(re.compile(rf"{re.escape(end)}\s*$"), timeout=PATIENCE_MS)
        texts: list[str] = self.page.evaluate("window.gpuboxTexts")
        first = len(texts) - 1
        while first > 0 and texts[first].startswith(texts[first - 1]):
            first -= 1
        return texts[first:]

    def new_chat(self) -> None:
        """Begin another chat."""
        self.page.locator('[aria-label="New Chat"]:visible').first.click()
        expect(self.answers).to_have_count(0, timeout=PATIENCE_MS)

    @property
    def answers(self) -> Locator:
        """All answers of this chat."""
        return self.page.locator(".chat-assistant")

    @property
    def errors(self) -> list[str]:
        """Every toast so far that said an error."""
        said: list[str] = self.page.evaluate("window.gpuboxErrors")
        return said

    @property
    def never_reloaded(self) -> bool:
        """Whether this is still the page of the sign-in."""
        return bool(self.page.evaluate(f"{_MARK} === true"))

    def shot(self, path: Path) -> Path:
        """A picture of the page as it is, written to `path`; waits until green toasts are gone."""
        expect(self.page.locator('[data-sonner-toast][data-type="success"]')).to_have_count(0, timeout=PATIENCE_MS)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path
