SELECT status, error, compressed_size FROM system.backups WHERE id = {id:String}
