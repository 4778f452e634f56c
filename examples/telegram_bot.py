"""A Telegram bot on asyncio that answers a burst once, when its user has been quiet for 5 seconds.

`Conversation` is written against what its library gives, so it can be tested without Telegram.

    pip install /path/to/clone/of/actor-queue aiogram
    REDIS_URL=redis://localhost BOT_TOKEN=… python telegram_bot.py

With python-telegram-bot open the queue in `post_init`, close it in `post_shutdown`, and push
`update.effective_chat.id` and `update.message.text` in the handler.
"""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from actor_queue import Batch, Failed, Settings
from actor_queue.aio import ActorQueue

QUIET_S = 5.0


class Chat(Protocol):
    id: int


class Message(Protocol):
    """As in aiogram."""

    message_id: int
    text: str | None
    chat: Chat


class Bot(Protocol):
    """As in aiogram."""

    async def send_message(self, chat_id: int, text: str) -> object: ...


class Conversation:
    """What comes in goes into the queue, and what comes out of it is answered."""

    def __init__(
        self,
        bot: Bot,
        settings: Settings,
        *,
        blocked: type[Exception],
        quiet_s: float = QUIET_S,
    ) -> None:
        self.bot = bot
        self.blocked = blocked
        self.quiet_s = quiet_s
        self.queue = ActorQueue(settings, deliver=self.answer)

    async def on_message(self, message: Message) -> None:
        """A handler: it returns as soon as the message is safe."""
        await self.queue.push(
            message.chat.id,
            message.text or "",
            ttl=self.quiet_s,
            message_id=f"{message.chat.id}:{message.message_id}",
        )

    async def answer(self, batch: Batch) -> Failed | None:
        """One burst. Who has blocked the bot is not tried again; whatever else fails is."""
        try:
            await self.bot.send_message(int(batch.user), f"You wrote: {' '.join(batch.messages)}")
        except self.blocked:
            return Failed("the user has blocked the bot", final=True)
        return None


async def main() -> None:
    from aiogram import Bot as Telegram
    from aiogram import Dispatcher
    from aiogram.exceptions import TelegramForbiddenError

    bot, dispatcher = Telegram(os.environ["BOT_TOKEN"]), Dispatcher()
    conversation = Conversation(bot, Settings.from_env(), blocked=TelegramForbiddenError)
    dispatcher.message.register(conversation.on_message)
    async with conversation.queue:
        await dispatcher.start_polling(bot)


if __name__ == "__main__":
    asyncio.run(main())
