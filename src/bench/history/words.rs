//! What customers and agents say.

use rand::RngExt;
use rand::rngs::StdRng;

/// About one text in ten has it.
pub const FREQUENT_WORD: &str = "terima";
const FREQUENT: f64 = 0.1;

const FIRST: [&str; 24] = [
    "Siti", "Budi", "Dewi", "Agus", "Rina", "Joko", "Putri", "Andi", "Maya", "Hadi", "Lestari", "Bayu",
    "Ayu", "Rizky", "Wulan", "Fajar", "Indah", "Yusuf", "Nadia", "Eko", "Citra", "Dimas", "Sari", "Ilham",
];
const LAST: [&str; 20] = [
    "Santoso",
    "Wijaya",
    "Rahma",
    "Pratama",
    "Lestari",
    "Hidayat",
    "Nugroho",
    "Kusuma",
    "Saputra",
    "Utami",
    "Halim",
    "Setiawan",
    "Anggraini",
    "Gunawan",
    "Maulana",
    "Permata",
    "Siregar",
    "Wibowo",
    "Handayani",
    "Suryadi",
];
/// Earlier ones are said more often.
const WORDS: [&str; 60] = [
    "kak", "ini", "ada", "bisa", "saya", "untuk", "yang", "sudah", "masih", "mau", "barang", "pesan",
    "kirim", "harga", "warna", "ukuran", "stok", "besok", "alamat", "bayar", "toko", "ongkir", "promo",
    "hitam", "putih", "paket", "resi", "tolong", "kapan", "sampai", "berapa", "kecil", "besar", "diskon",
    "tukar", "garansi", "rusak", "foto", "transfer", "lunas", "nota", "kurir", "jakarta", "bandung",
    "surabaya", "medan", "sepatu", "kemeja", "celana", "jaket", "tas", "merah", "biru", "hijau", "katun",
    "kulit", "tebal", "ringan", "malam", "pagi",
];
/// On about one conversation in seven.
pub const FREQUENT_TAG: &str = "baru";
const TAGS: [&str; 8] =
    [FREQUENT_TAG, "langganan", "retur", "grosir", "prioritas", "komplain", "reseller", "vip"];

pub fn name(rng: &mut StdRng) -> String {
    format!("{} {}", FIRST[rng.random_range(0..FIRST.len())], LAST[rng.random_range(0..LAST.len())])
}

/// The number that a customer writes from, without `+`.
pub fn phone_number(customer: u32) -> String {
    format!("62811{customer:08}")
}

/// The order that a customer names: everybody's own.
pub fn order_number(customer: u32) -> String {
    format!("INV{customer:08}")
}

/// The first text of a customer, about an order.
pub fn greeting(customer: u32, rng: &mut StdRng) -> String {
    format!("{} {}", text(rng), order_number(customer))
}

/// 3 to 12 words.
pub fn text(rng: &mut StdRng) -> String {
    let mut text = String::with_capacity(80);
    for n in 0..rng.random_range(3..=12) {
        // The square of an even number leans to the beginning of the list.
        let place = rng.random::<f64>().powi(2) * WORDS.len() as f64;
        if n > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[(place as usize).min(WORDS.len() - 1)]);
    }
    if rng.random_bool(FREQUENT) {
        text.push(' ');
        text.push_str(FREQUENT_WORD);
    }
    text
}

/// The same lean as that of the words: every second tag is one of the first two.
pub fn tag(rng: &mut StdRng) -> String {
    let place = rng.random::<f64>().powi(2) * TAGS.len() as f64;
    TAGS[(place as usize).min(TAGS.len() - 1)].to_owned()
}
