"""`python -m actor_queue` is the command `actor-queue`."""

from actor_queue.app.cli import main

if __name__ == "__main__":
    main()
