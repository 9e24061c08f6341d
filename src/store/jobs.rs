//! What people asked of many letters at once, and how far that has come: kept, so that it goes on after a restart and so
//! that the same request under the same key is one.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, named_params};

use crate::domain::{Action, Job, JobState, LetterFilter};

use super::error::Result;
use super::letters::{MEANT, meant};
use super::txn::Txn;
use super::{Look, Reader};

/// Jobs that are kept: their keys are known as long.
const JOBS_MAX: i64 = 1_000;

/// A bulk action with what carrying it on needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How far it is.
    pub job: Job,
    /// Who asked.
    pub who: String,
    /// The letters that are meant, as whoever began it wrote them down.
    pub which: String,
    /// Why.
    pub note: String,
    /// Letters after this one were not there yet.
    pub upto: i64,
    /// Letters up to here are done with.
    pub through: i64,
}

/// A request under a key: what was asked, told by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The key; none asks anew each time.
    pub key: Option<&'a str>,
    /// The digest.
    pub digest: [u8; 32],
}

const COLUMNS: &str =
    "job, who, action, which, note, upto, through, total, ok, failed, skipped, left, state, begun_ms, ended_ms";

fn task_of(row: &Row<'_>) -> rusqlite::Result<Task> {
    let action: String = row.get(2)?;
    let left: String = row.get(11)?;
    Ok(Task {
        job: Job {
            job: row.get(0)?,
            action: Action::from_word(&action)
                .ok_or_else(|| rusqlite::Error::InvalidColumnType(2, action, rusqlite::types::Type::Text))?,
            state: JobState::from_word(&row.get::<_, String>(12)?),
            total: row.get(7)?,
            ok: row.get(8)?,
            failed: row.get(9)?,
            skipped: row.get(10)?,
            left: serde_json::from_str(&left).unwrap_or_default(),
            begun_ms: row.get(13)?,
            ended_ms: row.get(14)?,
        },
        who: row.get(1)?,
        which: row.get(3)?,
        note: row.get(4)?,
        upto: row.get(5)?,
        through: row.get(6)?,
    })
}

/// One job.
fn one(conn: &Connection, job: i64) -> rusqlite::Result<Option<Task>> {
    conn.prepare_cached(&format!("select {COLUMNS} from jobs where job = ?1"))?.query_row([job], task_of).optional()
}

fn running(conn: &Connection) -> rusqlite::Result<Vec<i64>> {
    conn.prepare_cached("select job from jobs where state = 'running' order by job")?
        .query_map([], |row| row.get(0))?
        .collect()
}

impl Reader<'_> {
    /// A bulk action as it stands.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn job(&self, job: i64) -> Look<Option<Job>> {
        one(self.conn, job).map(|task| task.map(|task| task.job))
    }

    /// The jobs that are not at their end, oldest first.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn running(&self) -> Look<Vec<i64>> {
        running(self.conn)
    }
}

impl Txn<'_> {
    /// A job with what carrying it on needs.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn task(&self, job: i64) -> Result<Option<Task>> {
        one(self.sql, job).map_err(|e| self.err(&e))
    }

    /// The job that was asked under this key, and whether it was asked for the same.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn asked_before(&self, asked: &Asked<'_>) -> Result<Option<(Task, bool)>> {
        let Some(key) = asked.key else { return Ok(None) };
        self.sql
            .prepare_cached(&format!("select {COLUMNS}, asked = ?2 from jobs where key = ?1"))
            .and_then(|mut stmt| {
                stmt.query_row((key, asked.digest), |row| Ok((task_of(row)?, row.get(15)?))).optional()
            })
            .map_err(|e| self.err(&e))
    }

    /// The jobs that are not at their end, oldest first.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn running(&self) -> Result<Vec<i64>> {
        running(self.sql).map_err(|e| self.err(&e))
    }

    /// Begins a job; answers its number. The oldest that have ended make room.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn begin_job(&mut self, task: &Task, asked: &Asked<'_>) -> Result<i64> {
        self.sql
            .prepare_cached(
                "insert into jobs (key, asked, who, action, which, note, upto, through, total, ok, failed, skipped, left,
                   state, begun_ms, ended_ms)
                 values (:key, :asked, :who, :action, :which, :note, :upto, 0, :total, 0, 0, 0, '[]', :state, :begun, :ended)",
            )
            .and_then(|mut stmt| {
                stmt.execute(named_params! {
                    ":key": asked.key,
                    ":asked": asked.digest,
                    ":who": task.who,
                    ":action": task.job.action.as_str(),
                    ":which": task.which,
                    ":note": task.note,
                    ":upto": task.upto,
                    ":total": task.job.total,
                    ":state": task.job.state.as_str(),
                    ":begun": task.job.begun_ms,
                    ":ended": task.job.ended_ms,
                })
            })
            .map_err(|e| self.err(&e))?;
        let job = self.sql.last_insert_rowid();
        self.sql
            .prepare_cached("delete from jobs where state <> 'running' and job <= ?1")
            .and_then(|mut stmt| stmt.execute([job - JOBS_MAX]))
            .map_err(|e| self.err(&e))?;
        Ok(job)
    }

    /// Writes down how far a job has come.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn keep_job(&mut self, task: &Task) -> Result<()> {
        let left = serde_json::to_string(&task.job.left).unwrap_or_else(|_| "[]".to_owned());
        self.sql
            .prepare_cached(
                "update jobs set through = ?2, ok = ?3, failed = ?4, skipped = ?5, left = ?6, state = ?7, ended_ms = ?8
                 where job = ?1",
            )
            .and_then(|mut stmt| {
                let Job { ok, failed, skipped, state, ended_ms, .. } = task.job;
                stmt.execute((task.job.job, task.through, ok, failed, skipped, left, state.as_str(), ended_ms))
            })
            .map(|_| ())
            .map_err(|e| self.err(&e))
    }

    /// The newest letter; 0 when there is none.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn newest_letter(&self) -> Result<i64> {
        self.sql
            .prepare_cached("select coalesce(max(letter), 0) from letters")
            .and_then(|mut stmt| stmt.query_row([], |row| row.get(0)))
            .map_err(|e| self.err(&e))
    }

    /// How many letters a filter means.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn count_letters(&self, filter: &LetterFilter) -> Result<i64> {
        let values = meant(filter);
        let values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, value as &dyn ToSql)).collect();
        self.sql
            .prepare_cached(&format!("select count(*) from letters where {MEANT}"))
            .and_then(|mut stmt| stmt.query_row(values.as_slice(), |row| row.get(0)))
            .map_err(|e| self.err(&e))
    }

    /// The numbers of the letters that a filter means after one and up to another, in their order, at most `limit`.
    ///
    /// # Errors
    /// As every statement: the whole transaction is rolled back.
    pub fn meant_letters(&self, filter: &LetterFilter, after: i64, upto: i64, limit: usize) -> Result<Vec<i64>> {
        let mut values = meant(filter).to_vec();
        values.push((":after", Value::Integer(after)));
        values.push((":upto", Value::Integer(upto)));
        values.push((":limit", Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))));
        let values: Vec<(&str, &dyn ToSql)> = values.iter().map(|(name, value)| (*name, value as &dyn ToSql)).collect();
        self.sql
            .prepare_cached(&format!(
                "select letter from letters where {MEANT} and letter > :after and letter <= :upto order by letter limit :limit"
            ))
            .and_then(|mut stmt| stmt.query_map(values.as_slice(), |row| row.get(0))?.collect())
            .map_err(|e| self.err(&e))
    }
}
