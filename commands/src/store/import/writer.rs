//! Puts pages of history into a log.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::rows::{CLAIMS, Columns, EVENTS, KEYS, Page, Rows};
use crate::CommandError;
use crate::store::{HEAD, Store};

/// Writes the pages of one import, in their order.
pub struct Writer {
    store: Store,
    log_id: i16,
    managers: Vec<String>,
    /// Of its own, because it has temporary tables.
    connection: PgConnection,
    next: u64,
}

impl Writer {
    pub(super) async fn open(
        store: &Store,
        log_id: i16,
        managers: &[&'static str],
    ) -> Result<Self, CommandError> {
        let mut connection = store.pool().acquire().await?.detach();
        for columns in [EVENTS, CLAIMS, KEYS] {
            // Under row-level security COPY can't write to a table, but INSERT can.
            let Columns { table, .. } = columns;
            let create =
                format!("CREATE TEMPORARY TABLE copied_{table} (LIKE {table}) ON COMMIT DELETE ROWS");
            sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await?;
        }
        let managers = managers.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { store: store.clone(), log_id, managers, connection, next: 0 })
    }

    /// Writes a page and answers the position of its last event. The page has its positions then.
    ///
    /// # Errors
    /// When the log already holds something later, a key is held, a process manager is behind, or a page before this
    /// one is missing; database errors. The page is not in the log then; it may be tried again, and none after it can be
    /// written before.
    pub async fn write(&mut self, page: &mut Page) -> Result<i64, CommandError> {
        if (page.log_id, page.number) != (self.log_id, self.next) {
            return Err(CommandError::failed("pages are written in their order"));
        }
        let mut tx = self.connection.begin().await?;
        match write(&mut tx, self.log_id, &self.managers, page).await {
            Ok(position) => {
                tx.commit().await?;
                self.next += 1;
                self.store.progress().advance(HEAD, self.log_id, position);
                Ok(position)
            }
            Err(error) => {
                // At once: it has the log's lock.
                tx.rollback().await?;
                Err(error)
            }
        }
    }
}

async fn write(
    tx: &mut PgConnection,
    log_id: i16,
    managers: &[String],
    page: &mut Page,
) -> Result<i64, CommandError> {
    let (head, last_at) = lock(tx, log_id).await?;
    if page.first_at.zip(last_at).is_some_and(|(first, last)| first < last) {
        return Err(CommandError::failed("the log holds something later than this history"));
    }
    page.place_after(head);
    for (columns, rows) in [(KEYS, &page.keys), (CLAIMS, &page.claims), (EVENTS, &page.events)] {
        write_rows(tx, columns, rows).await?;
    }
    let position = head + page.len() as i64;
    pass(tx, log_id, managers, head, position).await?;
    Ok(position)
}

/// Takes the log's lock; answers its last position and time.
async fn lock(tx: &mut PgConnection, log_id: i16) -> Result<(i64, Option<DateTime<Utc>>), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(7301, $1)").bind(i32::from(log_id)).execute(&mut *tx).await?;
    let head = sqlx::query_as(
        "SELECT position, recorded_at FROM events WHERE log_id = $1 ORDER BY position DESC LIMIT 1",
    );
    let head: Option<(i64, DateTime<Utc>)> = head.bind(log_id).fetch_optional(tx).await?;
    Ok(head.map_or((0, None), |(position, at)| (position, Some(at))))
}

async fn write_rows(tx: &mut PgConnection, columns: Columns, rows: &Rows) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let Columns { table, names, .. } = columns;
    Rows::copy(tx, &format!("copied_{table}"), &[rows]).await?;
    let insert = format!("INSERT INTO {table} ({names}) SELECT {names} FROM copied_{table}");
    sqlx::query(AssertSqlSafe(insert)).execute(tx).await.map(|_| ())
}

/// Moves the process managers from the page's beginning to its end. Whoever holds the lease of one finds it lost, and
/// begins again behind the page.
async fn pass(
    tx: &mut PgConnection,
    log_id: i16,
    managers: &[String],
    from: i64,
    to: i64,
) -> Result<(), CommandError> {
    let passed = sqlx::query(
        "INSERT INTO projections AS p (name, slot, log_id, position)
         SELECT name, 'live', $2, $4 FROM unnest($1::text[]) AS manager (name)
         WHERE $3 = 0 OR EXISTS (SELECT FROM projections old WHERE old.name = manager.name AND slot = 'live' AND log_id = $2)
         ON CONFLICT (name, slot, log_id) DO UPDATE
             SET position = $4, lease_epoch = p.lease_epoch + 1, lease_owner = NULL, lease_until = NULL
             WHERE p.position = $3",
    )
    .bind(managers)
    .bind(log_id)
    .bind(from)
    .bind(to)
    .execute(tx)
    .await?;
    if passed.rows_affected() == managers.len() as u64 {
        Ok(())
    } else {
        Err(CommandError::failed("a process manager has not read the log up to this history"))
    }
}
