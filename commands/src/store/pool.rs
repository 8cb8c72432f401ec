//! Connections for statements that stand alone.
//!
//! sqlx's pool asks each connection that comes back whether it still lives, a round trip more for each statement, and
//! hands out the one that has rested longest, whose caches are the coldest. Here a connection whose statement has ended
//! well waits for the next one, and whoever came last goes first. Everything else is sqlx's pool's.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgPool, Postgres, SqlSafeStr, SqlStr, Transaction};

/// Of how many connections one may be ready here: the others stay with sqlx's pool, whatever it is asked for.
const READY_OF: u32 = 2;
/// A connection that has waited for longer goes back to sqlx's pool, which asks whether it lives before it is used.
const READY_FOR: Duration = Duration::from_secs(1);

/// sqlx's pool of connections, and those of them that are ready for a statement.
#[derive(Clone)]
pub struct Pool {
    all: PgPool,
    ready: Arc<Mutex<Vec<Ready>>>,
    /// Who waits for a connection of sqlx's pool.
    waiting: Arc<AtomicU32>,
}

struct Ready {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl Pool {
    /// Gives the ready ones back as soon as `all` is closed, which waits for them.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(all: PgPool) -> Self {
        let pool = Self { all, ready: Arc::default(), waiting: Arc::default() };
        let (closing, ready) = (pool.all.close_event(), Arc::clone(&pool.ready));
        tokio::spawn(async move {
            closing.await;
            lock(&ready).clear();
        });
        pool
    }

    /// A connection for more than one statement.
    ///
    /// # Errors
    /// When none can be had in time.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        // Counted first: whoever puts one back must see that somebody waits, or the connection must be found here.
        let _waiting = Waiting::new(&self.waiting);
        let newest = lock(&self.ready).pop();
        match newest {
            Some(newest) if newest.since.elapsed() < READY_FOR => return Ok(newest.connection),
            // If the newest has waited for too long, so have all others.
            Some(_) => lock(&self.ready).clear(),
            None => {}
        }
        self.all.acquire().await
    }

    /// As [`PgPool::begin`].
    ///
    /// # Errors
    /// When no connection can be had in time, or it breaks.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        Transaction::begin(self.acquire().await?, None).await
    }

    /// As [`PgPool::begin_with`].
    ///
    /// # Errors
    /// When no connection can be had in time, or the statement begins no transaction.
    pub async fn begin_with(
        &self,
        statement: impl SqlSafeStr,
    ) -> Result<Transaction<'static, Postgres>, Error> {
        Transaction::begin(self.acquire().await?, Some(statement.into_sql_str())).await
    }

    /// Only after a statement that has ended well: nothing is in its way then, and no transaction is open.
    fn put(&self, connection: PoolConnection<Postgres>) {
        let most = (self.all.options().get_max_connections() / READY_OF) as usize;
        let mut ready = lock(&self.ready);
        let is_wanted = self.waiting.load(Ordering::SeqCst) > 0;
        if ready.len() < most && !is_wanted && !self.all.is_closed() {
            ready.push(Ready { connection, since: Instant::now() });
        }
    }
}

struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock(ready: &Mutex<Vec<Ready>>) -> MutexGuard<'_, Vec<Ready>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whatever else sqlx's pool can do.
impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.all
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("all", &self.all).finish_non_exhaustive()
    }
}

/// An answer is read whole; what is too long for memory is to be streamed from a connection of one's own.
impl<'p> Executor<'p> for &Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let answered = async move {
            let mut connection = pool.acquire().await?;
            let answer: Vec<_> = connection.fetch_many(query).try_collect().await?;
            pool.put(connection);
            Ok::<_, Error>(stream::iter(answer.into_iter().map(Ok)))
        };
        stream::once(answered).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.acquire().await?;
            let row = connection.fetch_optional(query).await?;
            pool.put(connection);
            Ok(row)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}
