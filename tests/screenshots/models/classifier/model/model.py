"""Says how a text sounds."""


class Model:
    """Answers with scores."""

    def predict(self, model_input):
        text = model_input["text"]
        if not text.strip():
            raise ValueError("The text is empty: there is nothing to classify.")
        good = min(text.count("!") * 0.4 + 0.3, 0.98)
        print(f"classified {len(text)} characters")
        scores = {"joy": good, "calm": round(1 - good, 2)}
        words = [{"word": word, "joy": "!" in word} for word in text.split()]
        return {"label": max(scores, key=scores.get), "scores": scores, "words": words}
