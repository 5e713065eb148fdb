import beats
from litestar import Litestar, get


@get("/double/{number:int}")
async def double(number: int) -> dict[str, int]:
    return await beats.answer(number)


app = Litestar([double], lifespan=[beats.scheduler.lifespan])
