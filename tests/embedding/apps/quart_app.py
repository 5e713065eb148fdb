import beats
from quart import Quart

app = Quart(__name__)
app.while_serving(beats.scheduler.lifespan)


@app.get("/double/<int:number>")
async def double(number: int) -> dict[str, int]:
    return await beats.answer(number)
