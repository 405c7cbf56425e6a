"""A small Twitter: posts, replies, followers and timelines, whose state is in the store.

The operations are three registered functions that keep nothing of their own: `post`, `follow` and
`timeline`. Several users work at the same time, each in a thread of its own, and each looks whether
anything is wrong with what it sees: a reply that it sees before the post that it replies to. At the
end everything that was ever written has to be there.

There are no counters that several calls could add to at a time, and no transactions. No update is
lost all the same, because no key has two writers:

- ``post/ada/7`` is Ada's post number 7. It is written once. The number comes from Ada's session,
  so should the call be executed again, it writes the same post and not another one.
- ``count/ada`` says how many posts Ada has. It is written after the post that it counts: who reads
  it finds all of them. Only Ada's session calls `post` for Ada, and waits for the end of each call.
- ``following/ada`` is the list of those whom Ada follows. It is read, changed and written back,
  which is safe since again only Ada's session does so, one call after another.

    python examples/retwis.py [--users N] [--actions N] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any, TypeAlias, TypedDict

from cloudburst import CloudburstConnection, LocalCluster, UserLibrary

NAMES = ("ada", "barbara", "edsger", "frances", "grace", "john", "kathleen", "tony")
TIMELINE = 30  # posts that a timeline shows, besides those that they reply to
Operations: TypeAlias = dict[str, Callable[..., Any]]


class Post(TypedDict):
    """What somebody said. Its id is the author and a number, as in ``ada/7``.

    A plain dict: an object of a class of this script would carry that class into the store.
    """

    id: str
    text: str
    time: float
    reply_to: str | None


def post(
    library: UserLibrary, author: str, number: int, text: str, reply_to: str | None = None
) -> None:
    """Publish a post."""
    now = time.time()
    if reply_to is not None:  # clocks differ: a reply is later than what it replies to all the same
        now = max(now, library.get(f"post/{reply_to}")["time"] + 1e-6)
    said = Post(id=f"{author}/{number}", text=text, time=now, reply_to=reply_to)
    library.put(f"post/{author}/{number}", said)
    library.put(f"count/{author}", number + 1)


def follow(library: UserLibrary, user: str, other: str) -> None:
    """From now on, see in `user`'s timeline what `other` says."""
    following = library.get(f"following/{user}", default=[])
    if other not in following:
        library.put(f"following/{user}", [*following, other])


def timeline(library: UserLibrary, user: str) -> list[Post]:
    """The newest posts of the user and those whom it follows, the oldest first.

    Each reply has the post that it replies to before it, also if that is old, or somebody's whom
    the user does not follow. Four round trips, however many posts there are.
    """
    authors = [user, *library.get(f"following/{user}", default=[])]
    counts = library.get([f"count/{author}" for author in authors], default=0)
    newest = [
        f"post/{author}/{number}"
        for author, count in zip(authors, counts.values(), strict=True)
        for number in range(max(0, count - TIMELINE), count)
    ]
    posts = sorted(library.get(newest).values(), key=itemgetter("time"))[-TIMELINE:]
    answered = {post["reply_to"] for post in posts if post["reply_to"]}
    before = library.get([f"post/{post_id}" for post_id in answered - {p["id"] for p in posts}])
    return sorted([*posts, *(post for post in before.values() if post)], key=itemgetter("time"))


class Session:
    """One user at work: calls one after another, and looks at what they return.

    Attributes:
        posted, replied: how many posts of this user there are, and how many of them reply.
        following: whom the user follows.
        seen: ids of all posts that were in a timeline.
        anomalies: what was wrong with timelines.
        seconds: how long each call took, by operation.
    """

    def __init__(self, operations: Operations, user: str, users: list[str], seed: int) -> None:
        self.user = user
        self.posted = self.replied = 0
        self.following: list[str] = []
        self.anomalies: list[str] = []
        self.seen: set[str] = set()
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._operations = operations
        self._others = [other for other in users if other != user]
        self._dice = random.Random(f"{seed}/{user}")

    def act(self, actions: int) -> None:
        """Look at the timeline so often, and do something in between."""
        for _ in range(actions):
            posts = self.read()
            match self._dice.choices(["post", "reply", "follow"], [4, 5, 1])[0]:
                case "reply" if posts:
                    said = self._dice.choice(posts)
                    # As in a forum: a reply to a reply belongs to the post that began it all.
                    self.post(f"yes, {said['text'][:20]}", said["reply_to"] or said["id"])
                case "follow" if self._others:
                    self.follow(self._dice.choice(self._others))
                case _:
                    self.post(f"{self.user}'s thought number {self.posted}")
        self.read()

    def read(self) -> list[Post]:
        """The user's timeline, in which nothing may be wrong."""
        posts: list[Post] = self._call("timeline")
        for post in posts:
            if post["reply_to"] is not None and post["reply_to"] not in self.seen:
                self.anomalies.append(f"{self.user} saw {post['id']}, and no {post['reply_to']}")
            self.seen.add(post["id"])
        return posts

    def post(self, text: str, reply_to: str | None = None) -> None:
        """Say something."""
        self._call("post", self.posted, text, reply_to)
        self.posted += 1
        self.replied += reply_to is not None

    def follow(self, other: str) -> None:
        """Follow somebody."""
        self._call("follow", other)
        if other not in self.following:
            self.following.append(other)

    def _call(self, operation: str, *arguments: Any) -> Any:
        begin = time.perf_counter()
        value = self._operations[operation](self.user, *arguments)
        self.seconds[operation].append(time.perf_counter() - begin)
        return value


def deploy(cloud: CloudburstConnection) -> Operations:
    """Register the operations. Returns what calls them."""
    # A direct response: the value itself comes back, and no record of the call is stored.
    return {
        name: cloud.register(function, name).options(direct_response=True)
        for name, function in (("post", post), ("follow", follow), ("timeline", timeline))
    }


def use(operations: Operations, users: list[str], actions: int, seed: int) -> list[Session]:
    """Let all users work at the same time. Returns their sessions, when they are done."""
    sessions = [Session(operations, user, users, seed) for user in users]
    with ThreadPoolExecutor(len(users)) as threads:
        list(threads.map(lambda session: session.act(actions), sessions))
    return sessions


def lost(cloud: CloudburstConnection, sessions: list[Session]) -> list[str]:
    """What the users were told was done, and is not in the store."""
    missing = []
    for session in sessions:
        user = session.user
        if cloud.get_object(f"count/{user}", default=0) != session.posted:
            missing.append(f"the count of {user}'s posts")
        ids = [f"{user}/{number}" for number in range(session.posted)]
        missing += [f"post {id_}" for id_ in ids if cloud.get_object(f"post/{id_}") is None]
        if cloud.get_object(f"following/{user}", default=[]) != session.following:
            missing.append(f"whom {user} follows")
    return missing


def report(sessions: list[Session], seconds: float) -> None:
    """Print what was done, and how fast."""
    print(f"{'':<12}{'calls':>8}{'ms (p50)':>10}")
    for operation in ("post", "follow", "timeline"):
        times = [taken for session in sessions for taken in session.seconds[operation]]
        print(f"{operation:<12}{len(times):8}{statistics.median(times or [0]) * 1e3:10.2f}")
    posts, replies = sum(s.posted for s in sessions), sum(s.replied for s in sessions)
    calls = sum(len(times) for session in sessions for times in session.seconds.values())
    print(f"\n{posts} posts, {replies} of them replies; {len(sessions)} users")
    print(f"{calls} calls in {seconds:.2f} s: {calls / seconds:.0f} calls per second")


def main(argv: list[str] | None = None) -> None:
    """Some users, and what they have seen."""
    parser = argparse.ArgumentParser(description="Use a small Twitter from several threads.")
    parser.add_argument("--users", type=int, default=6, choices=range(1, len(NAMES) + 1))
    parser.add_argument("--actions", type=int, default=100, help="of each user")
    parser.add_argument("--seed", type=int, default=0, help="for what the users do")
    arguments = parser.parse_args(argv)

    with LocalCluster(min=2) as cluster, cluster.connect() as cloud:
        operations, users = deploy(cloud), list(NAMES[: arguments.users])
        begin = time.perf_counter()
        sessions = use(operations, users, arguments.actions, arguments.seed)
        seconds = time.perf_counter() - begin
        wrong = [anomaly for session in sessions for anomaly in session.anomalies]
        wrong += [f"lost: {what}" for what in lost(cloud, sessions)]
    report(sessions, seconds)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print("no anomaly: nobody saw a reply before its post, and nothing was lost")


if __name__ == "__main__":
    main()
