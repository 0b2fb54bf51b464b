"""Says how a text sounds."""


class Model:
    """Answers with scores."""

    def predict(self, model_input):
        text = model_input["text"]
        if not text.strip():
            raise ValueError("The text is empty: there is nothing to classify.")
        good = min(text.count("!") * 0.4 + 0.3, 0.98)
        print(f"classified {len(text)} characters")
        return {"label": "joy" if good > 0.5 else "calm", "score": good}
