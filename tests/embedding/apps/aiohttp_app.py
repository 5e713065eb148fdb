import socket
import sys

import beats
from aiohttp import web


async def double(request: web.Request) -> web.Response:
    return web.json_response(await beats.answer(int(request.match_info["number"])))


app = web.Application()
app.router.add_get("/double/{number}", double)
app.cleanup_ctx.append(beats.scheduler.lifespan)

if __name__ == "__main__":
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
