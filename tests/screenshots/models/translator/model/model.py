"""Answers in German, whatever it is asked, and takes its time for each page."""

import time

from pydantic import BaseModel, Field

GERMAN = "Der Königsstiel trägt den Balken."
SECONDS = 2.0  # a page


class Wanted(BaseModel):
    """What is translated."""

    text: str = Field(description="The text, at most a page.", max_length=4000)
    to: str = "de"
    pages: int = Field(default=0, ge=0, le=500)


class Model:
    """Answers with a text."""

    def predict(self, model_input: Wanted, request):
        for page in range(model_input.pages):
            done = page + 1
            request.state.progress(done / model_input.pages, f"page {done} of {model_input.pages}")
            time.sleep(SECONDS)
        return {"text": GERMAN, "to": model_input.to}

    def chat_completions(self, body: dict):
        said = {"role": "assistant", "content": GERMAN}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
        }
