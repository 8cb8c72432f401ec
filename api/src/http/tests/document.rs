use super::*;
use crate::http::openapi::Schemas;

fn document() -> Value {
    Library::new().api().document().clone()
}

#[test]
fn a_row_becomes_an_operation() {
    let document = document();
    let create = &document["paths"]["/api/books"]["post"];
    assert_eq!(create["tags"], serde_json::json!(["Books"]));
    assert_eq!((&create["summary"], &create["description"]), (&"Add a book".into(), &"Once.".into()));
    assert_eq!(create["x-auth"], "perm:contacts.manage");
    assert_eq!(create["operationId"], "post_api_books");
    assert_eq!(create["requestBody"]["required"], true);
    let body = &create["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/NewBook");
    let made = &create["responses"]["201"]["content"]["application/json"]["schema"];
    assert_eq!(made["$ref"], "#/components/schemas/Book");
    assert_eq!(create["responses"]["default"]["$ref"], "#/components/responses/Problem");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["tags"], serde_json::json!([{"name": "Books"}, {"name": "Odds"}]));
}

#[test]
fn the_parameters_are_those_that_the_handler_reads() {
    let document = document();
    let names = |path: &str, method: &str| -> Vec<String> {
        let all = document["paths"][path][method]["parameters"].as_array().unwrap();
        all.iter().filter_map(|p| Some(format!("{} {}", p["in"].as_str()?, p["name"].as_str()?))).collect()
    };
    let list =
        ["query shelf", "query days", "query lent.to", "query overdue", "query page", "query per_page"];
    assert_eq!(names("/api/books", "get"), list);
    assert_eq!(names("/api/shelves/{shelf}/{number}", "get"), ["path shelf", "path number"]);
    assert_eq!(names("/api/books/{book_id}", "patch"), ["path book_id"]);
    let shelf = &document["paths"]["/api/shelves/{shelf}/{number}"]["get"]["parameters"][0];
    assert_eq!(shelf["schema"]["enum"], serde_json::json!(["fiction", "science"]));
    let list = |i: usize| &document["paths"]["/api/books"]["get"]["parameters"][i]["schema"];
    assert_eq!((&list(0)["type"], &list(0)["enum"]), (&"string".into(), &shelf["schema"]["enum"]));
    assert_eq!((&list(1)["type"], &list(3)["type"]), (&"integer".into(), &"boolean".into()));
    let per_page = &document["paths"]["/api/books"]["get"]["parameters"][5]["schema"];
    assert_eq!((&per_page["default"], &per_page["maximum"]), (&20.into(), &100.into()));
}

/// JSON Schema knows no keyword whose value is null, and readers of the document stumble over one.
#[test]
fn no_keyword_is_null() {
    fn nulls(value: &Value, place: &str) -> Vec<String> {
        match value {
            Value::Null => vec![place.to_owned()],
            Value::Array(items) => items.iter().flat_map(|item| nulls(item, place)).collect(),
            Value::Object(members) => {
                members.iter().flat_map(|(name, value)| nulls(value, &format!("{place}/{name}"))).collect()
            }
            _ => Vec::new(),
        }
    }
    assert_eq!(nulls(&document(), ""), [""; 0]);
}

#[test]
fn each_output_is_documented_with_its_status_and_type() {
    let document = document();
    let answer = |path: &str, method: &str, status: &str| {
        document["paths"][path][method]["responses"][status]["content"].clone()
    };
    assert!(answer("/api/books/{id}/cover", "post", "202")["application/json"].is_object());
    assert_eq!(answer("/api/books/export", "get", "200")["text/csv"]["schema"]["type"], "string");
    assert_eq!(answer("/api/live", "get", "200")["text/event-stream"]["schema"]["type"], "string");
    assert!(answer("/api/odd", "get", "418")["text/plain"].is_object());
    let scan = answer("/api/books/{id}/scan", "get", "200");
    assert_eq!(scan.as_object().unwrap().keys().collect::<Vec<_>>(), ["application/pdf"]);
    let items = &answer("/api/shelves/{shelf}/{number}", "get", "200")["application/json"]["schema"]["items"];
    assert_eq!(items["$ref"], "#/components/schemas/Book");
    let hook = &document["paths"]["/hook"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(hook["$ref"], "#/components/schemas/Book");
    let optional = &document["paths"]["/api/books/{book_id}"]["patch"]["requestBody"];
    assert_eq!(optional["required"], false);
}

#[test]
fn who_may_call_is_in_the_document() {
    let document = document();
    let auth = |path: &str, method: &str| {
        let operation = &document["paths"][path][method];
        (operation["x-auth"].as_str().unwrap().to_owned(), operation.get("security").cloned())
    };
    let nobody = Some(serde_json::json!([]));
    assert_eq!(auth("/api/me", "get"), ("any".into(), None));
    assert_eq!(auth("/api/sla", "get"), ("supervisor".into(), None));
    assert_eq!(auth("/api/everything", "delete"), ("admin".into(), None));
    assert_eq!(auth("/api/super", "get"), ("super".into(), Some(serde_json::json!([{"superAdmin": []}]))));
    assert_eq!(auth("/health", "get"), ("public".into(), nobody.clone()));
    assert_eq!(auth("/hook", "post"), ("signature".into(), nobody));
    assert_eq!(document["paths"]["/api/sla"]["get"]["x-permission"], "sla.manage");
}

#[test]
fn nested_types_and_the_problem_are_named() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for name in ["NewBook", "Author", "Shelf", "Book", "BookPage", "PageNumbers", "Problem", "FieldError"] {
        assert!(schemas[name].is_object(), "{name}");
    }
    let required = schemas["Problem"]["required"].as_array().unwrap();
    for field in ["type", "title", "status", "detail", "code", "request_id"] {
        assert!(required.contains(&field.into()), "{field}");
    }
    assert!(!required.contains(&"errors".into()));
}

#[tokio::test]
async fn the_document_is_served_as_it_is() {
    let api = Library::new().api();
    let reply = call(Method::GET, "/openapi.json").at(&api.router()).await;
    assert_eq!(&reply.json(), api.document());
}

#[test]
fn mere_lists_and_options_get_no_name() {
    let mut schemas = Schemas::default();
    assert_eq!(schemas.reference::<Vec<String>>()["type"], "array");
    assert_eq!(schemas.reference::<Option<Shelf>>().get("$ref"), None);
    assert_eq!(schemas.reference::<HashMap<String, i64>>()["type"], "object");
    assert_eq!(schemas.reference::<Shelf>()["$ref"], "#/components/schemas/Shelf");
}

mod elsewhere {
    use super::*;

    /// Another book.
    #[derive(Serialize, ToSchema)]
    pub struct Book {
        pub isbn: String,
    }

    #[derive(Deserialize, IntoParams, Validate)]
    #[garde(allow_unvalidated)]
    pub struct NotInlined {
        #[allow(dead_code)]
        shelf: Option<Shelf>,
    }
}

async fn other_book(_: TestCtx) -> Answer<Json<elsewhere::Book>> {
    Ok(Json(elsewhere::Book { isbn: "1".into() }))
}

async fn not_inlined(_: TestCtx, Query(_): Query<elsewhere::NotInlined>) -> Answer<Text> {
    Ok(Text(String::new()))
}

#[track_caller]
fn faults(routes: Vec<Route<Library>>) -> Vec<String> {
    match Api::new("Library", "1", Library::new(), vec![group("Faulty", routes)]) {
        Ok(_) => Vec::new(),
        Err(FaultyTable(faults)) => faults,
    }
}

#[test]
fn a_faulty_table_does_not_start() {
    let any = Access::Any;
    let clash = faults(vec![get("/a/{id}", "", any, read), get("/b", "", any, other_book)]);
    assert_eq!(clash, ["two different schemas are named Book"]);
    let doubled = faults(vec![get("/a/{id}", "", any, read), get("/a/{other}", "", any, read)]);
    assert_eq!(doubled, ["GET /a/{other}: there are two such routes"]);
    let too_few = faults(vec![get("/a/{id}/{x}", "", any, read)]);
    assert_eq!(
        too_few,
        ["GET /a/{id}/{x}: the handler takes another number of path parameters than the path has"]
    );
    let ignored = faults(vec![get("/a/{id}", "", any, nothing)]);
    assert_eq!(ignored, ["GET /a/{id}: the handler does not take the path's parameters"]);
    let silent = faults(vec![get("/a", "", any, odd)]);
    assert_eq!(silent, ["GET /a: what it answers is not documented"]);
    let dangling = faults(vec![get("/a", "", any, not_inlined)]);
    assert_eq!(dangling, ["Shelf is referred to but not documented"]);
}
