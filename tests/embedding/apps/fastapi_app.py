import beats
from fastapi import FastAPI, Request

app = FastAPI(lifespan=beats.scheduler.lifespan)


@app.get("/double/{number}")
async def double(number: int, request: Request) -> dict[str, int]:
    assert request.state.scheduler is beats.scheduler
    return await beats.answer(number)
