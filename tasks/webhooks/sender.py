class Sender:
    def __init__(self, store, settings):
        pass

    async def run_forever(self, stop):
        await stop.wait()
