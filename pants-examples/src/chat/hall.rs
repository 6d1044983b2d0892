//! The hall: one shard's part of the chat. It knows its members and rooms, and asks and tells the other shards.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pants_shard::{Connection, ConnectionKey, Context, Shard, ShardId, Unanswered};

use super::listing::{self, LISTED_MAX};
use super::name::Name;
use super::post::Post;
use super::registrar::Registrar;
use super::table::{Member, Table};

/// The shard that knows which nicknames are taken.
pub(super) const REGISTRAR: ShardId = ShardId::new(0);

/// The room in which everybody begins.
const LOBBY: &str = "lobby";

const BUSY: &str = "-- too much is going on; try again\n";

/// One shard's members, and its way to the others.
pub(super) struct Hall {
    table: RefCell<Table<ConnectionKey>>,
    post: Rc<Post>,
    lobby: Name,
    /// How long a member's write queue may become, in bytes. A single line is written in any case.
    queue_max: usize,
    /// How many guests there have been.
    guests: Cell<usize>,
}

/// Where messages from other shards find the hall.
#[derive(Default)]
struct Place(OnceCell<Rc<Hall>>);

impl Hall {
    /// Makes a shard's hall, and puts it where [`of`](Self::of) finds it.
    pub(super) fn open(shard: &Shard<'_>, queue_max: usize) -> Rc<Self> {
        let hall = Self {
            table: RefCell::default(),
            post: Rc::new(Post::new(shard)),
            lobby: Name::new(LOBBY).expect("it is a name"),
            queue_max,
            guests: Cell::new(0),
        };
        Rc::clone(shard.state::<Place>().0.get_or_init(|| Rc::new(hall)))
    }

    /// The hall of a shard that has one.
    pub(super) fn of(shard: &Shard<'_>) -> Option<Rc<Self>> {
        shard.state::<Place>().0.get().cloned()
    }

    /// A connection has come.
    pub(super) fn arrive(&self, connection: &mut Connection<'_>) {
        let nick = Name::guest(self.post.bus.shard().index(), self.post.shards(), self.guests.get());
        self.guests.set(self.guests.get() + 1);
        let (key, lobby) = (connection.key(), &self.lobby);
        self.table.borrow_mut().insert(key, nick.clone(), lobby.clone());
        self.reply(connection, &format!("-- welcome, {nick}: you are in {lobby}; /help lists the commands\n"));
        self.tell_others(connection.context(), key, lobby, format!("-- {nick} has come\n"));
    }

    /// A member leaves the chat, if it has not left already.
    pub(super) fn depart(&self, connection: &mut Connection<'_>) {
        if let Some(Member { nick, room, .. }) = self.forget(connection) {
            let key = connection.key();
            self.tell_others(connection.context(), key, &room, format!("-- {nick} has left\n"));
        }
    }

    /// The same without telling anybody.
    pub(super) fn forget(&self, connection: &mut Connection<'_>) -> Option<Member> {
        let member = self.table.borrow_mut().remove(connection.key())?;
        self.release(connection.context(), &member.nick);
        Some(member)
    }

    fn release(&self, context: &mut Context, nick: &Name) {
        if !nick.is_guest() {
            self.post.release(context, nick.clone());
        }
    }

    /// Has everybody in a member's room hear the line that `word` makes of its name.
    pub(super) fn say(&self, connection: &mut Connection<'_>, word: impl FnOnce(&Name) -> String) {
        let table = self.table.borrow();
        let Some(Member { nick, room, .. }) = table.get(connection.key()) else { return };
        let (line, room) = (word(nick), room.clone());
        drop(table);
        if !self.tell_room(connection.context(), &room, line, None) {
            self.reply(connection, "-- too much is going on; not everybody has heard that\n");
        }
        self.post.hold_if_behind(connection);
    }

    pub(super) fn join(&self, connection: &mut Connection<'_>, room: Name) {
        let key = connection.key();
        let table = self.table.borrow();
        let Some((nick, left)) = table.get(key).map(|member| (member.nick.clone(), member.room.clone())) else {
            return;
        };
        drop(table);
        if room == left {
            return self.reply(connection, &format!("-- you are in {room} already\n"));
        }
        self.tell_others(connection.context(), key, &left, format!("-- {nick} has left\n"));
        self.table.borrow_mut().move_to(key, room.clone());
        self.tell_others(connection.context(), key, &room, format!("-- {nick} has come\n"));
        self.reply(connection, &format!("-- you are in {room}\n"));
        self.post.hold_if_behind(connection);
    }

    pub(super) fn leave(&self, connection: &mut Connection<'_>) {
        self.join(connection, self.lobby.clone());
    }

    /// Asks the registrar for a name. The member is not read until it has answered.
    pub(super) fn ask_for_nick(self: &Rc<Self>, connection: &mut Connection<'_>, nick: Name) {
        let key = connection.key();
        let table = self.table.borrow();
        let Some(is_own) = table.get(key).map(|member| member.nick.folded() == nick.folded()) else { return };
        drop(table);
        if is_own {
            // It is taken, by this member: in other letters it may be had.
            self.rename(connection.context(), key, nick);
            return self.post.hold_if_behind(connection);
        }
        connection.pause_reading();
        let (hall, wanted) = (Rc::clone(self), nick.clone());
        let asked = self.post.bus.request(
            REGISTRAR,
            move |registrar| registrar.state::<Registrar>().claim(&wanted),
            move |shard, answer| hall.take_nick(shard.context(), key, nick, answer),
        );
        if asked.is_err() {
            self.answer(connection.context(), key, BUSY);
        }
    }

    /// The registrar has answered a member, which may have gone meanwhile.
    fn take_nick(&self, context: &mut Context, key: ConnectionKey, nick: Name, answer: Result<bool, Unanswered>) {
        let is_here = self.table.borrow().get(key).is_some();
        let told = match answer {
            Ok(true) if is_here => {
                self.rename(context, key, nick);
                String::new()
            }
            Ok(true) => return self.release(context, &nick),
            Ok(false) => format!("-- {nick} is taken\n"),
            Err(Unanswered) => BUSY.to_owned(),
        };
        self.answer(context, key, &told);
    }

    /// Has a member be called `nick`, which is its own.
    fn rename(&self, context: &mut Context, key: ConnectionKey, nick: Name) {
        let mut table = self.table.borrow_mut();
        let Some(member) = table.get_mut(key) else { return };
        let old = std::mem::replace(&mut member.nick, nick.clone());
        let room = member.room.clone();
        drop(table);
        if old.folded() != nick.folded() {
            self.release(context, &old);
        }
        self.tell_room(context, &room, format!("-- {old} is now {nick}\n"), None);
    }

    pub(super) fn list_members(self: &Rc<Self>, connection: &mut Connection<'_>) {
        let Some(room) = self.table.borrow().get(connection.key()).map(|member| member.room.clone()) else { return };
        let wanted = room.clone();
        self.ask_all(
            connection,
            move |table| table.who(&wanted, LISTED_MAX),
            move |answers| listing::who(&room, answers),
        );
    }

    pub(super) fn list_rooms(self: &Rc<Self>, connection: &mut Connection<'_>) {
        self.ask_all(connection, |table| table.rooms(LISTED_MAX + 1), listing::rooms);
    }

    /// Asks all shards, and tells the member what `sum_up` makes of their answers. It is not read until then.
    fn ask_all<T: Send + 'static>(
        self: &Rc<Self>,
        connection: &mut Connection<'_>,
        question: impl FnOnce(&Table<ConnectionKey>) -> T + Clone + Send + 'static,
        sum_up: impl Fn(Vec<T>) -> String + 'static,
    ) {
        connection.pause_reading();
        let (hall, key, shards) = (Rc::clone(self), connection.key(), self.post.shards());
        let answers = RefCell::new(Vec::with_capacity(shards));
        let collect = Rc::new(move |context: &mut Context, answer: Option<T>| {
            answers.borrow_mut().push(answer);
            if answers.borrow().len() == shards {
                let answers: Option<Vec<T>> = answers.take().into_iter().collect();
                hall.answer(context, key, &answers.map_or_else(|| BUSY.to_owned(), &sum_up));
            }
        });
        for shard in (0..shards).map(ShardId::new) {
            let (question, collect_one) = (question.clone(), Rc::clone(&collect));
            let asked = self.post.bus.request(
                shard,
                move |shard| Self::of(shard).map(|hall| question(&hall.table.borrow())),
                move |shard, answer| collect_one(shard.context(), answer.ok().flatten()),
            );
            if asked.is_err() {
                collect(connection.context(), None);
            }
        }
    }

    /// Answers a member that was not read meanwhile, if it is still there.
    fn answer(&self, context: &mut Context, key: ConnectionKey, text: &str) {
        if self.table.borrow().get(key).is_none() {
            return;
        }
        if let Some(mut connection) = context.connection(key) {
            self.reply(&mut connection, text);
            connection.resume_reading();
            self.post.hold_if_behind(&mut connection);
        }
    }

    /// Tells a room something of one of its members, which does not hear it.
    fn tell_others(&self, context: &mut Context, member: ConnectionKey, room: &Name, line: String) {
        self.tell_room(context, room, line, Some(member));
    }

    /// Returns whether all shards will hear of it.
    fn tell_room(&self, context: &mut Context, room: &Name, line: String, except: Option<ConnectionKey>) -> bool {
        let line: Arc<[u8]> = line.into_bytes().into();
        self.deliver(context, room, &line, except);
        self.post.send_line(context, room, &line)
    }

    /// Writes a line to the members of a room on this shard.
    pub(super) fn deliver(&self, context: &mut Context, room: &Name, line: &Arc<[u8]>, except: Option<ConnectionKey>) {
        self.table.borrow_mut().for_each_in(room, |key, member| {
            if Some(key) != except
                && let Some(mut connection) = context.connection(key)
                && self.is_to_hear(&mut connection, member, line.len())
            {
                connection.write_shared(line);
            }
        });
    }

    /// Tells a member something.
    pub(super) fn reply(&self, connection: &mut Connection<'_>, text: &str) {
        if let Some(member) = self.table.borrow_mut().get_mut(connection.key())
            && self.is_to_hear(connection, member, text.len())
        {
            connection.write(text.as_bytes());
        }
    }

    /// Whether so much is written to a member. If it is behind, it misses it, and is told once it has taken what it was sent.
    fn is_to_hear(&self, connection: &mut Connection<'_>, member: &mut Member, length: usize) -> bool {
        let queued = connection.queued_bytes();
        let is_behind = member.missed > 0 || queued > 0 && queued + length > self.queue_max;
        if is_behind {
            member.missed += 1;
            connection.ignore_on_write(false);
        }
        !is_behind
    }

    /// A member has taken all that was written to it: if it has missed something, it learns how much.
    pub(super) fn catch_up(&self, connection: &mut Connection<'_>) {
        connection.ignore_on_write(true);
        let mut table = self.table.borrow_mut();
        let Some(member) = table.get_mut(connection.key()) else { return };
        let told = match std::mem::take(&mut member.missed) {
            0 => return,
            1 => "-- you missed 1 message\n".to_owned(),
            missed => format!("-- you missed {missed} messages\n"),
        };
        connection.write(told.as_bytes());
    }
}
