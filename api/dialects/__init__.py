"""How the Model APIs speak: errors as OpenAI and Anthropic have them, ids of requests, forms."""
