import beats
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def double(request: Request) -> JSONResponse:
    assert request.state.scheduler is beats.scheduler
    return JSONResponse(await beats.answer(request.path_params["number"]))


app = Starlette(routes=[Route("/double/{number:int}", double)], lifespan=beats.scheduler.lifespan)
